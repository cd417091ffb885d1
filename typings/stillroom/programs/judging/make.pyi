from programs.judging.make import *
