from evals.pool import *
