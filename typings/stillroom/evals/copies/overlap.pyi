from evals.copies.overlap import *
