from evals.copies.pool import *
