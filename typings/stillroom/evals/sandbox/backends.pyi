from evals.sandbox.backends import *
