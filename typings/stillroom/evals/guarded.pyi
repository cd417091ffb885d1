from evals.guarded import *
