from evals.sandbox.limits import *
