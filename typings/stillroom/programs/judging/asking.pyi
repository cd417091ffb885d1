from programs.judging.asking import *
