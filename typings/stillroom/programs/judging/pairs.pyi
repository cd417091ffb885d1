from programs.judging.pairs import *
