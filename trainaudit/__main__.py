"""`python -m trainaudit`."""

from trainaudit.cli import main

main()
