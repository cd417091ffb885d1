from evals.copies.duplicates import *
