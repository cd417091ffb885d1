from evals.policies import *
