"""Changes made in the user's Python: found with libcst where their place is certain, shown as a diff, and written only when asked.

`places` finds whose code makes a module, `lookup` the call in it, `rewriting` changes that place, `proposing` decides and collects. libcst is imported
inside functions only, and no code of the user's is run here.
"""
