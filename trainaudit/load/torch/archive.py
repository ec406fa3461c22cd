"""The zip archives that torch.save and torch.export.save write, looked at before torch opens them. Stdlib only.

torch stores its entries uncompressed, each once. What is otherwise could say one thing to one reader and another thing to the next, or grow
without bound when it is read, and is refused.
"""

from __future__ import annotations

import zipfile

from trainaudit.errors import TrainauditError
from trainaudit.load.datafile import open_model
from trainaudit.load.identify import what_it_is

_ZIP = b"PK\x03\x04"
_HEAD = 8192
_COPY = "Copy, download or save it again."


def entries_of(path: str, wanted: str) -> tuple[str, ...]:
    """The names of the entries, without the folder that all of them share; () where the file is no zip archive but a pickle.

    Raises `TrainauditError` where it is neither, or an archive that torch did not write. `wanted` is what the file should be.
    """
    file = open_model(path)
    head = file.read(0, min(file.size, _HEAD))
    if not head.startswith(_ZIP):
        if head[:1] == b"\x80" and len(head) > 1 and head[1] in range(2, 6):
            return ()
        raise what_it_is(head, path, wanted) or damaged(path, f"it does not start like {wanted}")
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, f"its archive cannot be read ({str(error)[:80]})") from None
    names = [entry.filename for entry in found]
    if len(set(names)) != len(names):
        raise damaged(path, "its archive holds an entry twice")
    top = {name.partition("/")[0] for name in names}
    inner = tuple(name.partition("/")[2] for name in names) if len(top) == 1 else tuple(names)
    if any(name.startswith("code/") or name == "constants.pkl" for name in inner):
        what = f"{path} is a TorchScript archive, which holds code."
        hint = "Save its weights, torch.save(torch.jit.load(path).state_dict(), 'weights.pt'), or audit the module that it was made from."
        raise TrainauditError("torchscript-file", what, hint)
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > file.size for entry in found):
        raise damaged(path, "its archive is compressed, as torch never does")
    return inner


def damaged(path: str, why: str) -> TrainauditError:
    return TrainauditError("damaged-file", f"{path} is damaged: {why}.", _COPY)
