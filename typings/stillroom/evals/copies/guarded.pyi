from evals.copies.guarded import *
