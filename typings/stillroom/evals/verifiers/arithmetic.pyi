from evals.verifiers.arithmetic import *
