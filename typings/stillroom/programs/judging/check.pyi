from programs.judging.check import *
