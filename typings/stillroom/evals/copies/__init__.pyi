from evals.copies import *
