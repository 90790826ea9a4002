#!/usr/bin/env python3
"""Runs the tests of this folder, and names at the end what was not tested and why."""

import sys
import unittest
from pathlib import Path

if __name__ == "__main__":
    tests = unittest.defaultTestLoader.discover(str(Path(__file__).resolve().parent))
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    for test, reason in result.skipped:
        print(f"\nSKIPPED: {test.id()}: {reason}", file=sys.stderr)
    if result.skipped:
        print(f"\n{len(result.skipped)} of {result.testsRun} tests were skipped: what they test is not known", file=sys.stderr)
    sys.exit(not result.wasSuccessful())
