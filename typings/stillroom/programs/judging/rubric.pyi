from programs.judging.rubric import *
