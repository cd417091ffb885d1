from programs.judging import *
