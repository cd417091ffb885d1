from programs.forecast.drawn import *
