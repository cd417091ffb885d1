from evals.copies.leakage import *
