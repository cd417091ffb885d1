from evals.mutants import *
