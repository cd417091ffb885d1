from programs.judging.faces import *
