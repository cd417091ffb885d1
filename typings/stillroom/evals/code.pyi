from evals.code import *
