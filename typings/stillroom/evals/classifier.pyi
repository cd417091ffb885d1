from evals.classifier import *
