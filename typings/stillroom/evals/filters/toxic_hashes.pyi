from evals.filters.toxic_hashes import *
