import sys
from pathlib import Path

from mutants import write

write(Path(sys.argv[1]))
