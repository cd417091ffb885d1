from evals.embedding import *
