from programs.forecast.funnel import *
