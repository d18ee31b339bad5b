"""Run the console command: `python -m motionshards COMMAND`."""

import sys

from motionshards.cli import main

sys.exit(main())
