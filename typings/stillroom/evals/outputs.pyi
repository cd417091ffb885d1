from evals.outputs import *
