"""python -m motionshards COMMAND is motionshards COMMAND."""

import sys

from motionshards.cli import main

sys.exit(main())
