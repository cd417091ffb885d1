from evals.agreement import *
