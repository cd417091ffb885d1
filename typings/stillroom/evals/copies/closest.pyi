from evals.copies.closest import *
