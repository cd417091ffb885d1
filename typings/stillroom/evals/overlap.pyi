from evals.overlap import *
