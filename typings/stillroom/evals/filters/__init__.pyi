from evals.filters import *
