from evals.sandbox.called import *
