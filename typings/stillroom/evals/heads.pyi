from evals.heads import *
