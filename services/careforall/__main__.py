"""``python -m careforall``: the same as the ``careforall`` command."""

from careforall.cli import main

if __name__ == "__main__":
    main()
