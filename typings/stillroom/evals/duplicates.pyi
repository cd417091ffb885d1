from evals.duplicates import *
