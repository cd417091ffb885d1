from evals.selection import *
