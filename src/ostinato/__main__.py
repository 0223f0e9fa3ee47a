"""`python -m ostinato`."""

from ostinato.cli import main

if __name__ == "__main__":
    main()
