from evals.execution import *
