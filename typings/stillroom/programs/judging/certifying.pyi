from programs.judging.certifying import *
