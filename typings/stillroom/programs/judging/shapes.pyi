from programs.judging.shapes import *
