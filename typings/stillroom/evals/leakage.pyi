from evals.leakage import *
