from evals.sandbox.tcl import *
