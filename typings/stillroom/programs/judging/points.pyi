from programs.judging.points import *
