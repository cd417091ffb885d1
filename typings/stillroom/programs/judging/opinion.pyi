from programs.judging.opinion import *
