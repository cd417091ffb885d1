from programs.judging.certificate import *
