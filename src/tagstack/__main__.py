"""`python -m tagstack` is `tagstack`."""

from tagstack.cli.main import main

main()
