from evals.gates import *
