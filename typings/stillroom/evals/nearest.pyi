from evals.nearest import *
